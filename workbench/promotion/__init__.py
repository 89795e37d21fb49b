"""From a challenger to a champion: gates, export with proof, bundles, the registry."""
