//! Readers and writers in a context of their own, as tokio has them.

use std::io::{IoSlice, Result, SeekFrom};
use std::pin::Pin;
use std::task::{Context, Poll};

use ::tokio::io::{AsyncBufRead, AsyncRead, AsyncSeek, AsyncWrite, ReadBuf};

use crate::task_context::TaskContext;
use crate::with_context::WithContext;

impl<T: AsyncRead, C: TaskContext> AsyncRead for WithContext<T, C> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        self.poll_in(cx, |inner, cx| inner.poll_read(cx, buffer))
    }
}

impl<T: AsyncBufRead, C: TaskContext> AsyncBufRead for WithContext<T, C> {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<&[u8]>> {
        self.poll_in(cx, |inner, cx| inner.poll_fill_buf(cx))
    }

    fn consume(self: Pin<&mut Self>, amount: usize) {
        self.run_now(|inner| inner.consume(amount));
    }
}

impl<T: AsyncWrite, C: TaskContext> AsyncWrite for WithContext<T, C> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<Result<usize>> {
        self.poll_in(cx, |inner, cx| inner.poll_write(cx, buffer))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        self.poll_in(cx, |inner, cx| inner.poll_write_vectored(cx, buffers))
    }

    fn is_write_vectored(&self) -> bool {
        self.inner().is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.poll_in(cx, |inner, cx| inner.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.poll_in(cx, |inner, cx| inner.poll_shutdown(cx))
    }
}

impl<T: AsyncSeek, C: TaskContext> AsyncSeek for WithContext<T, C> {
    fn start_seek(self: Pin<&mut Self>, position: SeekFrom) -> Result<()> {
        self.run_now(|inner| inner.start_seek(position))
    }

    fn poll_complete(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<u64>> {
        self.poll_in(cx, |inner, cx| inner.poll_complete(cx))
    }
}
