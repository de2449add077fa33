//! Python's context variables and ours, current together: a module that Python imports.
//!
//! A Rust task that Python starts has the values of Python's context, and Python code that Rust
//! calls has those of ours, in what either spawns and behind each await. `test.py` tests it, and
//! `ci/python.sh` builds the module and runs that.

use aiocontextvars::{Context, ContextExt, context_var, shim};
use pyo3::prelude::*;
use pyo3_async_runtimes::tokio::future_into_py;
use pyo3_async_runtimes::{TaskLocals, into_future_with_locals};
use tokio::sync::oneshot;

context_var! {
    static TENANT: String = "nobody".to_owned();
    /// Python's event loop and its context, with the variables that Rust knows nothing of.
    static PYTHON: TaskLocals;
}

/// Python's variable for `TENANT`.
fn python_tenant(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    py.import("recipes_python")?.getattr("tenant")
}

/// The context for what Python starts: a line for each variable that both sides have.
fn from_python(py: Python<'_>) -> PyResult<Context> {
    let tenant: String = python_tenant(py)?.call_method0("get")?.extract()?;
    let python = TaskLocals::with_running_loop(py)?.copy_context(py)?;
    Ok(Context::new()
        .with_value(&TENANT, tenant)
        .with_value(&PYTHON, python))
}

/// Awaits what a Python function returns. It runs in a copy of Python's context, with our values.
async fn call(function: Py<PyAny>) -> PyResult<String> {
    let returned = Python::attach(|py| {
        let python = PYTHON.get().expect("not in a task that Python started");
        let context = python.context(py).call_method0("copy")?;
        let set = python_tenant(py)?.getattr("set")?;
        context.call_method1("run", (set, TENANT.get()))?;
        let awaitable = context.call_method1("run", (function,))?;
        into_future_with_locals(&python.with_context(context), awaitable)
    })?;
    let returned = returned.await?;
    Python::attach(|py| returned.extract(py))
}

async fn tenant() -> String {
    shim::yield_now().await;
    TENANT.get()
}

fn task_error(error: shim::JoinError) -> PyErr {
    pyo3::exceptions::PyRuntimeError::new_err(error.to_string())
}

/// Which tenant is current in a task, in a child of it, and in the Python function that each calls;
/// and then the same where the task has set another.
#[pyfunction]
fn report(py: Python<'_>, function: Py<PyAny>) -> PyResult<Bound<'_, PyAny>> {
    let for_child = function.clone_ref(py);
    let again = function.clone_ref(py);
    let report = async move {
        let mut seen = vec![tenant().await, call(function).await?];
        // What was awaited has changed nothing here.
        seen.push(TENANT.get());
        let child = shim::spawn(async { Ok::<_, PyErr>([tenant().await, call(for_child).await?]) });
        seen.extend(child.await.map_err(task_error)??);
        TENANT.set("set by Rust".to_owned());
        seen.push(call(again).await?);
        Ok(seen)
    };
    let context = from_python(py)?;
    future_into_py(py, report.in_context(context))
}

/// The same without the recipe.
#[pyfunction]
fn bare(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    future_into_py(py, async { Ok(tenant().await) })
}

/// Which tenant a function of Rust sees that Python calls.
#[pyfunction]
fn call_rust(py: Python<'_>) -> PyResult<String> {
    Ok(from_python(py)?.run(|| TENANT.get()))
}

/// Tells on drop which tenant is current.
struct Tells(Option<oneshot::Sender<String>>);

impl Drop for Tells {
    fn drop(&mut self) {
        if let Some(sender) = self.0.take() {
            let _nobody_asks = sender.send(TENANT.get());
        }
    }
}

/// A future that never ends, and one of the tenant in whose context the first is dropped.
#[pyfunction]
fn endless(py: Python<'_>) -> PyResult<(Bound<'_, PyAny>, Bound<'_, PyAny>)> {
    let (sender, told) = oneshot::channel();
    let tells = Tells(Some(sender));
    let endless = async move {
        let _tells = tells;
        std::future::pending::<PyResult<()>>().await
    };
    let context = from_python(py)?;
    let endless = future_into_py(py, endless.in_context(context))?;
    let told = future_into_py(py, async { Ok(told.await.ok()) })?;
    Ok((endless, told))
}

#[pymodule]
fn recipes_python(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let contextvars = module.py().import("contextvars")?;
    let tenant = contextvars.call_method1("ContextVar", ("tenant",))?;
    module.add("tenant", tenant)?;
    module.add_function(wrap_pyfunction!(report, module)?)?;
    module.add_function(wrap_pyfunction!(bare, module)?)?;
    module.add_function(wrap_pyfunction!(call_rust, module)?)?;
    module.add_function(wrap_pyfunction!(endless, module)?)
}
