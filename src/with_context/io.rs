//! Readers and writers in a context of their own, as `futures` has them.

use std::io::{IoSlice, IoSliceMut, Result, SeekFrom};
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_io::{AsyncBufRead, AsyncRead, AsyncSeek, AsyncWrite};

use super::{TaskContext, WithContext};

impl<T: AsyncRead, C: TaskContext> AsyncRead for WithContext<T, C> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<Result<usize>> {
        self.poll_in(cx, |inner, cx| inner.poll_read(cx, buffer))
    }

    fn poll_read_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
    ) -> Poll<Result<usize>> {
        self.poll_in(cx, |inner, cx| inner.poll_read_vectored(cx, buffers))
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

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.poll_in(cx, |inner, cx| inner.poll_flush(cx))
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.poll_in(cx, |inner, cx| inner.poll_close(cx))
    }
}

impl<T: AsyncSeek, C: TaskContext> AsyncSeek for WithContext<T, C> {
    fn poll_seek(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        position: SeekFrom,
    ) -> Poll<Result<u64>> {
        self.poll_in(cx, |inner, cx| inner.poll_seek(cx, position))
    }
}
