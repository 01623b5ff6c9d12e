//! Seeded Gaussian noise: the same numbers as torch's CPU generator.
