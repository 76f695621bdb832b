"""Every port held in memory: for unit tests, and for trying the service without a trace."""
