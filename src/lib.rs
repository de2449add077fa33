//! Context variables for async Rust, inherited by every unit of work.
//!
#![cfg_attr(docsrs, feature(doc_cfg))]

mod context;
mod current;
mod error;
mod frames;
mod future;
mod id;
mod macros;
mod node;
mod scoped;
mod shared;
pub mod shim;
mod token;
mod var;

pub use crate::context::{Context, Entry, Iter, copy_context};
pub use crate::error::{AlreadyEntered, LookupError, SetError, SetErrorKind};
pub use crate::future::{ContextExt, TaskContext, WithContext};
pub use crate::scoped::Scoped;
pub use crate::shared::SharedContext;
#[doc(inline)]
pub use crate::shim::event_loop;
pub use crate::token::{ResetError, ResetErrorKind, Token};
pub use crate::var::ContextVar;
