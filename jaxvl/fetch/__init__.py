"""What the published experiments need, from the network. Only `jaxvl fetch` uses it."""
