"""Systems that complete bundles: sets of items that are sold, worn or played together."""
