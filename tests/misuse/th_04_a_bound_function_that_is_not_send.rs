//! TH-04: a bound function may be sent where what it binds may be.

use std::rc::Rc;
use std::thread;

use aiocontextvars::{Context, shim};

fn main() {
    let one = Rc::new(1);
    thread::spawn(shim::bind(move || drop(one)));
    let two = Rc::new(2);
    thread::spawn(Context::new().bind(move || drop(two)));
}
