// The bytes of a request or reply while they are sent, retried or kept for a retry. Shared by the
// slot that owns them and the work requests that read from them. Counted against the node's budget.
#pragma once

#include <memory>

#include "base/bytes.hpp"
#include "base/ref.hpp"

namespace tessera::rpc {

struct Budget {
    size_t used = 0;
    size_t limit = 0;
};

class Buffer final : public RefCounted {
  public:
    // nullptr when the budget is spent.
    static Ref<Buffer> make(Budget& budget, Bytes head, Bytes body) {
        size_t size = head.size() + body.size();
        if (budget.used + size > budget.limit) return nullptr;
        Ref<Buffer> b(new Buffer(budget, size));
        if (!head.empty()) std::memcpy(b->data_.get(), head.data(), head.size());
        if (!body.empty()) std::memcpy(b->data_.get() + head.size(), body.data(), body.size());
        return b;
    }
    ~Buffer() override { budget_.used -= size_; }

    Bytes bytes() const { return {data_.get(), size_}; }

  private:
    Buffer(Budget& budget, size_t size)
        : budget_(budget), size_(size), data_(new std::byte[size ? size : 1]) {
        budget_.used += size_;
    }

    Budget& budget_;
    size_t size_;
    std::unique_ptr<std::byte[]> data_;
};

} // namespace tessera::rpc
