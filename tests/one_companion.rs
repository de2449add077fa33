//! A companion that is the only one in its process, which is entered by a shorter way.

use aiocontextvars::{companion, inherit_context};

#[path = "companions/destroyed.rs"]
mod destroyed;

#[test]
fn it_is_not_called_when_the_thread_exits() {
    companion::register(destroyed::Destroyed).unwrap();
    destroyed::none_is_called_when_the_thread_exits(inherit_context);
}
