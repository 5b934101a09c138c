"""The tract dialect: what Sonos' tract reads and writes, https://github.com/sonos/tract/tree/main/nnef."""
