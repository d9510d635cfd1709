//! The device under test.

use std::cell::RefCell;

use burn::tensor::Device;

thread_local! {
    static DEVICE: RefCell<Option<Device>> = const { RefCell::new(None) };
}

/// Where a test makes its tensors: the processor, but within [`on`].
pub fn device() -> Device {
    DEVICE.with_borrow(|device| device.clone().unwrap_or_else(Device::flex))
}

/// Runs a test, or a part of one, on another device.
pub fn on<T>(device: &Device, test: impl FnOnce() -> T) -> T {
    struct Before(Option<Device>);
    impl Drop for Before {
        fn drop(&mut self) {
            DEVICE.replace(self.0.take());
        }
    }
    let _before = Before(DEVICE.replace(Some(device.clone())));
    test()
}
