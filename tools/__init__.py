"""Commands that attack the certificates, and measure what they can see. Each says how to run it."""
