"""Secrets are hidden in whatever text of others has them, and nothing else is."""

import pytest

from domain.secret_text import hide_secrets


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("whsec_MfKQ9r8GKYqr/+=_- is it", "whsec_*** is it"),
        ("key: whsk_abc, whsec_def", "key: whsk_***, whsec_***"),
        ("Authorization: Bearer abcdefgh", "Authorization: Bearer ***"),
        ("authorization: bearer  a.b-c_d~e+f/g=", "authorization: bearer ***"),
        ("BASIC dXNlcjpwYXNz", "BASIC ***"),
        *((f"/r?a=1&{name}=s3cret&b=2", f"/r?a=1&{name}=***&b=2") for name in ("token", "key", "sig", "signature")),
        *((f"/r?{name}=s3cret", f"/r?{name}=***") for name in ("secret", "password", "X-Amz-Signature", "api_key")),
        ("'/r?SIG=s3cret' and \"/r?sig=s3cret\"", "'/r?SIG=***' and \"/r?sig=***\""),
        ("https://user:pass@example.test/r", "https://user:***@example.test/r"),
        ("https://:pass@example.test and amqp://u:p@h", "https://:***@example.test and amqp://u:***@h"),
        # several kinds in one text
        (
            "Basic dXNlcjpwYXNz to https://u:p@h/?token=t with whsec_x",
            "Basic *** to https://u:***@h/?token=*** with whsec_***",
        ),
    ],
)
def test_a_secret_is_hidden(text: str, shown: str) -> None:
    assert hide_secrets(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "whsec",
        "Bearer abcdefg",
        "a basic idea",
        "/r?tokens=1&monkey=2&keyed=3",
        "token=1",
        "https://user@h/a:b",
        "http://h:80/",
    ],
)
def test_other_texts_stay(text: str) -> None:
    assert hide_secrets(text) == text
