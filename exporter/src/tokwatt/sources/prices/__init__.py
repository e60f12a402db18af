"""The room of price sources: one file per kind. They say what a price is from now on, in base units."""
