"""The one room for changing a wallet: lock → load → decide → apply → announce, in the caller's transaction."""
