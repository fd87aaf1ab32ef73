//! Servers that failed and are left out for a while. Pure: time comes in.
