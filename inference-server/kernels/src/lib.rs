//! CPU kernels, as candle operations, without any knowledge of a model.
