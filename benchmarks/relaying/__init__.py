"""Parts of the measurement of the relay: stages of one event, growth with series, ranks and length."""
