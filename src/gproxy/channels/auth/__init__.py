"""How a request is signed for a vendor, one file per way."""
