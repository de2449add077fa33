//! What safe Rust cannot say: pointers to what calls on the machine stack keep alive, and drops in
//! a given place. The only unsafe code of the crate is in the files of this module.
//!
//! - [`Stack`]: values that calls on this thread have pushed.
//! - [`Frames`](frames::Frames): which `T` is current on this thread, without moving it there and
//!   back.
//! - [`Contexts`]: reading a value of the current context where it is, without a reference count,
//!   and a cache of where the values are.
//! - [`Inside`]: a value that is dropped inside of something; [`DisposedOf`]: one that somebody
//!   else drops.
//! - [`NumberOrShared`]: a number or a shared value, in the space of the number.
//! - [`AlwaysSend`]: a value that is `Send`, where the compiler does not know it any more.
//! - [`cell_here`]: a cell in a thread-local without a destructor.
//!
//! The invariants that hold for all of them:
//! - The first three are entered by calling a closure, so that they are left in reverse order, also
//!   by a panic. (As for the scoped thread-locals of other crates, code that suspends its machine
//!   stack may not do so in the middle.)
//! - A `&mut` into a frame exists only as long as its [`Busy`](frames::Busy) does, and whoever
//!   finds the frame busy does not touch it.
//!
//! What the files outside of this module owe it is checked by review, because `unsafe` is for this
//! module alone: [`Lookup`] and [`Around`] keep their promises, the closure of a
//! [`glance`](frames::Frames::glance) calls no user code and neither allocates nor frees, and what is
//! read by a key has the type of the key's variable.
//!
//! # Allocators and signal handlers
//!
//! An allocator is called at function calls, a signal handler between any two instructions. Both
//! may read variables; an allocator may also write. A handler leaves all that it finds as it was,
//! with two exceptions: it may store the stamp of the innermost frame as the current one, and it
//! may replace entries of the cache. So:
//! - What a handler reads or changes is in [`VolatileCell`](cell::VolatileCell)s. The compiler
//!   accesses them once each, in the order in which they are written here, and takes no value for
//!   known. (Only what every handler puts back is read as ordinary memory is.)
//! - A pointer is stored after what it points to, and that is reused after the pointer is gone.
//!   [`PutBack`](cell::PutBack) has the compiler fences. On one thread nothing else is needed.
//! - A word is that of the target. Where numbers of 64 bits are two words, a handler could see half
//!   of one: there no handler may read a variable.
//! - What consists of several cells is checked again after it was read (`Contexts::cached`), or
//!   stored over after a handler could have changed it ([`Contexts::enter`]).

#![allow(unsafe_code, reason = "see above")]

mod cell;
mod contexts;
mod frames;
mod inside;
mod number_or_shared;
mod send;
mod stack;

pub(crate) use self::cell::cell_here;
pub(crate) use self::contexts::{Contexts, Lookup, Reading};
pub(crate) use self::inside::{Around, Dispose, DisposedOf, Inside, Undropped};
pub(crate) use self::number_or_shared::NumberOrShared;
pub(crate) use self::send::{AlwaysSend, IsSend};
pub(crate) use self::stack::Stack;
