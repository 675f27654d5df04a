"""Chat providers: one adapter a provider, behind one port."""
