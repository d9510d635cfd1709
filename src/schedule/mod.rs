//! Devices, the plan, slots, worker processes, retries.
