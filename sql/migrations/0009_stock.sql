-- How many stored files had no row in the index when that was last counted (storage/stocktaking.py).

CREATE TABLE stock (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    unindexed_files bigint NOT NULL,
    counted_at timestamptz NOT NULL DEFAULT now()
);
