"""What vendors answer when the thin events of the sample files are asked about."""

from typing import Any

ANSWERS: dict[str, dict[str, Any]] = {
    "adyen": {
        "merchantAccount": "ExampleShop_ECOM",
        "shopperReference": "shopper-4711",
        "storedPaymentMethods": [
            {"id": "X1N7TQ4TG5PFWR59", "type": "scheme", "brand": "mc", "lastFour": "4444", "expiryMonth": "01"},
            {
                "id": "M5N7TQ4TG5PFWR50",
                "type": "scheme",
                "brand": "visa",
                "lastFour": "1881",
                "expiryMonth": "11",
                "expiryYear": "29",
                "networkTxReference": "MCC123456789012",
            },
        ],
    },
    "visa-tms": {
        "id": "11E005EC5EC93BE7E063AF598E0A92CC",
        "object": "paymentInstrument",
        "state": "ACTIVE",
        "card": {"expirationMonth": "12", "expirationYear": "2026", "type": "visa"},
        "_embedded": {
            "instrumentIdentifier": {
                "state": "ACTIVE",
                "card": {"number": "411111XXXXXX1111"},
                "tokenizedCard": {
                    "state": "ACTIVE",
                    "type": "visa",
                    "number": "489537XXXXXX5914",
                    "expirationMonth": "03",
                    "expirationYear": "2032",
                    "card": {"suffix": "1111", "type": "visa", "expirationMonth": "12", "expirationYear": "2029"},
                },
            }
        },
    },
    "google-pay": {
        "messageId": "AH2EjtcMt7sP12",
        "timestamp": "2026-11-20T09:14:12.000Z",
        "merchantTokenId": "MTI-3a7b12",
        "cardUpdateInfo": {"fpanSuffix": "5678"},
    },
    "apple-pay": {
        "eventType": "UPDATED_METADATA",
        "merchantTokenIdentifier": "DNITHE382307735418712894",
        "reason": "ISSUER",
        "merchantTokenMetadata": {
            "cardMetadata": {"fpanSuffix": "5678", "expirationDate": "291130", "cardCountry": "US"},
            "tokenMetadata": {"expirationDate": "310731"},
        },
    },
}
