//! x
pub mod json;
pub mod key;
pub mod signature;
pub mod statement;
