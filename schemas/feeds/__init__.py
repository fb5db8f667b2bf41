"""Every vendor's feed by the name it is asked for with `--format`. A new one is a module here and a line below."""

from collections.abc import Mapping

from schemas.feeds import (
    abu_batch,
    abu_pull,
    abu_push,
    adyen,
    adyen_rtau,
    apple_pay,
    basis_theory,
    bluesnap,
    braintree,
    checkout,
    cybersource,
    discover,
    gocardless,
    google_pay,
    iats,
    jpmorgan,
    mdes,
    nacha,
    nmi,
    paysafe,
    spreedly,
    stripe,
    tabapay,
    vau,
    vgs,
    visa_tms,
    worldpay,
)
from schemas.feeds.feed import Feed

FEEDS: Mapping[str, Feed] = {
    feed.name: feed
    for feed in (
        abu_batch.FEED,
        abu_pull.FEED,
        abu_push.FEED,
        adyen.FEED,
        adyen_rtau.FEED,
        apple_pay.FEED,
        basis_theory.FEED,
        bluesnap.FEED,
        braintree.FEED,
        checkout.FEED,
        cybersource.FEED,
        discover.FEED,
        gocardless.FEED,
        google_pay.FEED,
        iats.FEED,
        jpmorgan.FEED,
        mdes.FEED,
        nacha.FEED,
        nmi.FEED,
        paysafe.FEED,
        spreedly.FEED,
        stripe.FEED,
        tabapay.FEED,
        vau.FEED,
        vgs.FEED,
        visa_tms.FEED,
        worldpay.FEED,
    )
}
