"""Settings: `schema` declares them, `validators` parse values, `sources` set the precedence, `loader` loads them."""
