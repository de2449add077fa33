//! Bodies of HTTP messages in a context of their own.

use std::pin::Pin;
use std::task::{Context, Poll};

use ::http_body::{Body, Frame, SizeHint};

use crate::task_context::TaskContext;
use crate::with_context::WithContext;

impl<B: Body, C: TaskContext> Body for WithContext<B, C> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        self.poll_in(cx, |inner, cx| inner.poll_frame(cx))
    }

    fn is_end_stream(&self) -> bool {
        self.inner().is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner().size_hint()
    }
}
