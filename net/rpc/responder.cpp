#include "net/rpc/responder_target.hpp"

namespace tessera::rpc {

Responder& Responder::operator=(Responder&& o) noexcept {
    if (this != &o) {
        if (pending()) fail(Error::Unsupported);
        target_ = o.target_;
        token_ = o.token_;
        o.target_ = nullptr;
    }
    return *this;
}

Responder::~Responder() {
    if (pending()) fail(Error::Unsupported);
}

void Responder::reply(Bytes head, Bytes body) {
    if (ResponderTarget* t = std::exchange(target_, nullptr))
        t->answer(token_, Error{}, head, body);
}

void Responder::fail(Error e) {
    if (ResponderTarget* t = std::exchange(target_, nullptr)) t->answer(token_, e, {}, {});
}

} // namespace tessera::rpc
