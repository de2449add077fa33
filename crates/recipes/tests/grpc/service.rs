//! A service of gRPC, as tonic-build would make it of a `.proto`, whose messages are texts.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use futures::stream::BoxStream;
use http::Request as HttpRequest;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tonic::body::Body;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::server::{
    ClientStreamingService, Grpc, NamedService, ServerStreamingService, StreamingService,
    UnaryService,
};
use tonic::{Request, Response, Status, Streaming};

use bytes::{Buf, BufMut};

pub(crate) const UNARY: &str = "/test.Echo/Unary";
pub(crate) const SERVER: &str = "/test.Echo/Server";
pub(crate) const CLIENT: &str = "/test.Echo/Client";
pub(crate) const BOTH: &str = "/test.Echo/Both";

type Answer<T> = BoxFuture<'static, Result<Response<T>, Status>>;
type Texts = BoxStream<'static, Result<String, Status>>;

/// What a service does; a trait that tonic-build would make.
pub(crate) trait Echo: Clone + Send + Sync + 'static {
    fn unary(self, request: String) -> impl Future<Output = Result<String, Status>> + Send;

    fn server(self, _: String) -> impl Future<Output = Result<Texts, Status>> + Send {
        async { Err(Status::unimplemented("server")) }
    }

    fn client(self, _: Streaming<String>) -> impl Future<Output = Result<String, Status>> + Send {
        async { Err(Status::unimplemented("client")) }
    }

    fn both(self, _: Streaming<String>) -> impl Future<Output = Result<Texts, Status>> + Send {
        async { Err(Status::unimplemented("both")) }
    }
}

/// The server of a service.
#[derive(Clone)]
pub(crate) struct EchoServer<E>(pub(crate) E);

impl<E> NamedService for EchoServer<E> {
    const NAME: &'static str = "test.Echo";
}

/// One of its methods.
struct Method<E>(E);

impl<E: Echo> UnaryService<String> for Method<E> {
    type Response = String;
    type Future = Answer<String>;

    fn call(&mut self, request: Request<String>) -> Self::Future {
        let echo = self.0.clone();
        Box::pin(async { Ok(Response::new(echo.unary(request.into_inner()).await?)) })
    }
}

impl<E: Echo> ServerStreamingService<String> for Method<E> {
    type Response = String;
    type ResponseStream = Texts;
    type Future = Answer<Texts>;

    fn call(&mut self, request: Request<String>) -> Self::Future {
        let echo = self.0.clone();
        Box::pin(async { Ok(Response::new(echo.server(request.into_inner()).await?)) })
    }
}

impl<E: Echo> ClientStreamingService<String> for Method<E> {
    type Response = String;
    type Future = Answer<String>;

    fn call(&mut self, request: Request<Streaming<String>>) -> Self::Future {
        let echo = self.0.clone();
        Box::pin(async { Ok(Response::new(echo.client(request.into_inner()).await?)) })
    }
}

impl<E: Echo> StreamingService<String> for Method<E> {
    type Response = String;
    type ResponseStream = Texts;
    type Future = Answer<Texts>;

    fn call(&mut self, request: Request<Streaming<String>>) -> Self::Future {
        let echo = self.0.clone();
        Box::pin(async { Ok(Response::new(echo.both(request.into_inner()).await?)) })
    }
}

impl<E: Echo> tower::Service<HttpRequest<Body>> for EchoServer<E> {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: HttpRequest<Body>) -> Self::Future {
        let method = Method(self.0.clone());
        Box::pin(async move {
            let mut grpc = Grpc::new(Text);
            Ok(match request.uri().path() {
                UNARY => grpc.unary(method, request).await,
                SERVER => grpc.server_streaming(method, request).await,
                CLIENT => grpc.client_streaming(method, request).await,
                BOTH => grpc.streaming(method, request).await,
                _ => Status::unimplemented("no such method").into_http(),
            })
        })
    }
}

/// Messages that are texts, without protobuf.
pub(crate) struct Text;

impl Codec for Text {
    type Encode = String;
    type Decode = String;
    type Encoder = Text;
    type Decoder = Text;

    fn encoder(&mut self) -> Text {
        Text
    }

    fn decoder(&mut self) -> Text {
        Text
    }
}

impl Encoder for Text {
    type Item = String;
    type Error = Status;

    fn encode(&mut self, text: String, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put_slice(text.as_bytes());
        Ok(())
    }
}

impl Decoder for Text {
    type Item = String;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<String>, Status> {
        let bytes = from.copy_to_bytes(from.remaining());
        let text = String::from_utf8(bytes.to_vec());
        Ok(Some(text.map_err(|_| Status::internal("no text"))?))
    }
}

/// A listener on loopback, and its address.
pub(crate) async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// A server that ends with the test.
pub(crate) struct Served(JoinHandle<Result<(), tonic::transport::Error>>);

impl Served {
    pub(crate) fn spawn(
        serve: impl Future<Output = Result<(), tonic::transport::Error>> + Send + 'static,
    ) -> Served {
        Served(tokio::spawn(serve))
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.0.abort();
    }
}
