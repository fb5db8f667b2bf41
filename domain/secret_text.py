"""Secrets in texts of others: signing secrets, credentials of HTTP, passwords and signatures in URLs."""

import re

# Standard Webhooks writes secrets and private keys so; both are base64.
_SIGNING_SECRET = re.compile(r"\b(wh(?:sec|sk)_)[A-Za-z0-9+/=_-]+")
_CREDENTIALS = re.compile(r"\b(Bearer|Basic) +[A-Za-z0-9+/=._~-]{8,}", re.IGNORECASE)
# Report addresses and webhook URLs are signed so (clouds put X-Amz- or X-Goog- before the name), and the URL of a feed
# may have its secret as `token`.
_SECRET_IN_QUERY = re.compile(
    r"""([?&](?:[a-z0-9_-]{0,40}[_-])?(?:token|key|sig|signature|secret|password)=)[^&\s"']+""", re.IGNORECASE
)
_PASSWORD_IN_URL = re.compile(r"""(?<=://)([^\s:/@"']*):[^\s"']*@""")


def hide_secrets(text: str) -> str:
    """`text` with stars for every secret in it."""
    if "wh" in text:
        text = _SIGNING_SECRET.sub(r"\1***", text)
    text = _CREDENTIALS.sub(r"\1 ***", text)
    if "=" in text:
        text = _SECRET_IN_QUERY.sub(r"\1***", text)
    if "://" in text:
        text = _PASSWORD_IN_URL.sub(r"\1:***@", text)
    return text
