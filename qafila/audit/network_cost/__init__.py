"""What the network costs: bills by kind and route, prices with tiers, and what moving would do."""
