"""Currencies: the codes of ISO 4217 that have minor units, and how many decimals each has.

The table is list one of the standard as its maintenance agency, SIX Financial Information,
published it on the date ``PUBLISHED``. Metals, bond units, drawing rights, "testing" and "no
currency" have no minor units there, so there is nothing to count in: they are left out. A test
compares the table with the package ``iso4217``, which is made from the same list, and fails when
the agency has published a newer one.
"""

from collections.abc import Mapping

PUBLISHED = "2026-01-01"

_TWO = """
AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF
CHE CHF CHW CNY COP COU CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD
GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL
MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR
PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP
TRY TTD TWD TZS UAH USD USN UYU UZS VED VES WST XAD XCD XCG YER ZAR ZMW ZWG
"""
_BY_EXPONENT = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
    2: _TWO,
    3: "BHD IQD JOD KWD LYD OMR TND",
    4: "CLF UYW",
}
EXPONENTS: Mapping[str, int] = {
    code: exponent for exponent, codes in _BY_EXPONENT.items() for code in codes.split()
}
"""Decimals of each currency: 10 to this power of its minor units make one major unit."""

CURRENCIES = frozenset(EXPONENTS)
CURRENCY_RULE = "must be a currency code of ISO 4217 with minor units, such as EUR"
