"""HTTP for merchants, wallets and vendors."""
