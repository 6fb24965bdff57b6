//! Ctrl-C and requests to end: a verb that can be resumed finishes its step first.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// The flag of the verb that wants to be asked.
static LISTENER: Mutex<Option<Arc<AtomicBool>>> = Mutex::new(None);

/// While it lives, the first request to end sets its flag instead of ending the program; the second ends it.
#[derive(Debug)]
pub struct Listener {
    flag: Arc<AtomicBool>,
}

/// Begins to listen.
pub fn listen() -> Listener {
    let flag = Arc::new(AtomicBool::new(false));
    if let Ok(mut listener) = LISTENER.lock() {
        *listener = Some(flag.clone());
    }
    Listener { flag }
}

impl Listener {
    /// Set when the program is asked to end.
    pub fn flag(&self) -> Arc<AtomicBool> {
        self.flag.clone()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Ok(mut listener) = LISTENER.lock() {
            listener.take_if(|flag| Arc::ptr_eq(flag, &self.flag));
        }
    }
}

/// Passes a request to end on; whether somebody listens who was not asked before.
pub(crate) fn request() -> bool {
    let listener = LISTENER.lock().ok().and_then(|listener| listener.clone());
    listener.is_some_and(|flag| !flag.swap(true, Ordering::Relaxed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_request_is_passed_on_and_the_second_is_not() {
        assert!(!request());
        let listener = listen();
        assert!(request() && listener.flag().load(Ordering::Relaxed));
        assert!(!request());
        drop(listener);
        assert!(!request());
    }
}
