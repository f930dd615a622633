"""Version 1 of the wire types: the .proto files with the stubs that ``make proto`` generated from them."""
