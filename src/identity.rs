//! [`Identity`]: which context a context is, and the companions that were captured with it.

use triomphe::UniqueArc;

use crate::companion::captured::Companions;
use crate::id;
use crate::raw::NumberOrShared;

/// The second word of a context.
///
/// ```text
/// id                      neither companions nor a capture
/// id | APART              nothing is to be current: it was not when this was captured
/// shared Tail::Captured   captured, not written to since
/// shared Tail::Written    the same with an id
/// ```
///
/// So contexts without companions are two words, and those of one capture share what was captured.
pub(crate) struct Identity(NumberOrShared<Tail>);

/// Behind a count, and never changed.
enum Tail {
    Captured(Companions),
    Written { id: u64, captured: SharedCompanions },
}

impl Tail {
    fn companions(&self) -> &Companions {
        match self {
            Tail::Captured(companions) => companions,
            Tail::Written { captured, .. } => captured.get(),
        }
    }
}

/// Set beside an id. Ids leave two bits free.
const APART: u64 = 2;

/// A reference to what was captured.
#[derive(Clone)]
pub(crate) struct SharedCompanions(triomphe::Arc<Tail>);

impl SharedCompanions {
    pub(crate) fn new(companions: Companions) -> SharedCompanions {
        SharedCompanions(triomphe::Arc::new(Tail::Captured(companions)))
    }

    pub(crate) fn get(&self) -> &Companions {
        self.0.companions()
    }

    /// The companions, if this is the only reference.
    pub(crate) fn into_last(self) -> Option<Companions> {
        match triomphe::Arc::into_unique(self.0).map(UniqueArc::into_inner)? {
            Tail::Captured(companions) => Some(companions),
            Tail::Written { captured, .. } => captured.into_last(),
        }
    }

    /// The id of the context that it was in, or 0.
    #[inline]
    fn id(&self) -> u64 {
        match &*self.0 {
            Tail::Captured(_) => 0,
            Tail::Written { id, .. } => *id,
        }
    }

    /// The same without the id of the context that it was in.
    fn without_id(self) -> SharedCompanions {
        match &*self.0 {
            Tail::Captured(_) => self,
            Tail::Written { captured, .. } => captured.clone(),
        }
    }
}

/// What a capture has found.
#[derive(Clone)]
pub(crate) enum Captured {
    /// Nothing was captured: whatever is current where the context is entered stays so.
    No,
    /// Nothing was current.
    Nothing,
    Companions(SharedCompanions),
}

impl Identity {
    /// That of a context that was never written to.
    pub(crate) const NONE: Identity = Identity(NumberOrShared::number(0));

    pub(crate) fn new(captured: Captured) -> Identity {
        Identity(match captured {
            Captured::No => NumberOrShared::number(0),
            Captured::Nothing => NumberOrShared::number(APART),
            // They may be those of the current context, whose id is not this one's: it would take
            // that one's guards and tokens for its own.
            Captured::Companions(companions) => NumberOrShared::shared(companions.without_id().0),
        })
    }

    /// That of another context with the same companions.
    #[inline]
    pub(crate) fn copy(&self) -> Identity {
        match self.0.as_number() {
            Some(number) => Identity(NumberOrShared::number(number & APART)),
            None => {
                let tail = self.0.clone_shared();
                let companions = |tail| Captured::Companions(SharedCompanions(tail));
                Identity::new(tail.map_or(Captured::No, companions))
            }
        }
    }

    /// 0 until the first write, so that a copy accepts no token or guard of its original.
    #[inline]
    pub(crate) fn id(&self) -> u64 {
        match self.0.as_number() {
            Some(number) => number & !APART,
            None => self.id_beside(),
        }
    }

    #[cold]
    fn id_beside(&self) -> u64 {
        match self.0.as_shared() {
            Some(Tail::Written { id, .. }) => *id,
            _ => 0,
        }
    }

    pub(crate) fn ensure_id(&mut self) -> u64 {
        let id = self.id();
        if id != 0 {
            return id;
        }
        let id = id::next_context();
        match self.0.as_number() {
            Some(flag) => self.0 = NumberOrShared::number(id | flag),
            None => {
                let companions = self.take_companions();
                companions
                    .into_iter()
                    .for_each(|it| self.put_beside(id, it));
            }
        }
        id
    }

    /// The same without companions.
    pub(crate) fn alone(&self) -> Identity {
        Identity(NumberOrShared::number(self.id()))
    }

    /// Whether there are companions.
    #[inline]
    pub(crate) fn has_companions(&self) -> bool {
        self.0.has_bit(0)
    }

    /// Whether anything is to be done about companions where the context is entered.
    #[inline]
    pub(crate) fn is_marked(&self) -> bool {
        self.0.has_bit(APART)
    }

    /// Has nothing be current where nothing was captured.
    pub(crate) fn set_apart(&mut self) {
        if let Some(number) = self.0.as_number() {
            self.0 = NumberOrShared::number(number | APART);
        }
    }

    pub(crate) fn companions(&self) -> Option<&Companions> {
        self.0.as_shared().map(Tail::companions)
    }

    /// Takes the companions out, if there are any. The id stays.
    pub(crate) fn take_companions(&mut self) -> Option<SharedCompanions> {
        self.0.replace_shared(self.id()).map(SharedCompanions)
    }

    /// Puts back what was taken out.
    #[inline]
    pub(crate) fn put_back(&mut self, companions: SharedCompanions) {
        let id = self.id();
        if id == companions.id() {
            self.0 = NumberOrShared::shared(companions.0);
        } else {
            self.put_beside(id, companions);
        }
    }

    /// Makes a new tail of the id and the companions, whose tail has another id or none.
    #[cold]
    fn put_beside(&mut self, id: u64, companions: SharedCompanions) {
        let captured = companions.without_id();
        let written = Tail::Written { id, captured };
        self.0 = NumberOrShared::shared(triomphe::Arc::new(written));
    }
}
