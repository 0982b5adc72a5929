// Archive: one description of an object's fields serves saving and loading.
//
//   void record(Archive& a) override { a.number(offset_); a.text(path_); }
//
// The format is little-endian, self-delimiting per object and bounded when loading: hostile or cut
// bytes set `failed` and yield zeroes, never more than the input holds. Objects name others by id.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/bytes.hpp"
#include "base/units.hpp"

namespace tessera::posix {

class Archive {
  public:
    Archive() = default;                                          // saves
    explicit Archive(Bytes from) : loading_(true), from_(from) {} // loads

    bool loading() const { return loading_; }
    bool failed() const { return failed_; }
    void fail() { failed_ = true; }
    bool at_end() const { return from_.empty(); }
    const std::vector<std::byte>& saved() const { return out_; }

    template <typename T>
        requires(std::is_integral_v<T> || std::is_enum_v<T>)
    void number(T& v) {
        uint64_t x = loading_ ? 0 : static_cast<uint64_t>(v);
        for (unsigned i = 0; i < 8; i++) {
            if (!loading_) {
                out_.push_back(static_cast<std::byte>(x >> (8 * i)));
            } else if (i < from_.size()) {
                x |= static_cast<uint64_t>(from_[i]) << (8 * i);
            } else {
                failed_ = true;
            }
        }
        if (!loading_) return;
        from_ = from_.subspan(from_.size() < 8 ? from_.size() : 8);
        v = failed_ ? T{} : static_cast<T>(x);
    }
    template <typename Tag, typename Rep>
    void number(Id<Tag, Rep>& v) {
        number(v.value);
    }
    void text(std::string& s) {
        uint64_t n = s.size();
        number(n);
        if (loading_) {
            if (n > from_.size()) {
                failed_ = true;
                n = 0;
            }
            s.assign(reinterpret_cast<const char*>(from_.data()), n);
            from_ = from_.subspan(n);
        } else {
            for (char c : s)
                out_.push_back(static_cast<std::byte>(c));
        }
    }
    // Plain bytes of fixed size.
    void raw(MutableBytes b) {
        for (std::byte& x : b) {
            if (!loading_) {
                out_.push_back(x);
            } else if (!from_.empty()) {
                x = from_.front();
                from_ = from_.subspan(1);
            } else {
                failed_ = true;
            }
        }
    }
    // Calls each(element) for every element; on loading the vector is refilled first. At most
    // `most`.
    template <typename T, typename F>
    void list(std::vector<T>& v, size_t most, F&& each) {
        uint64_t n = v.size();
        number(n);
        if (loading_) {
            v.clear();
            if (n > most || n > from_.size()) {
                failed_ = true;
                return;
            }
            v.resize(n);
        }
        for (T& t : v)
            each(t);
    }

  private:
    bool loading_ = false;
    bool failed_ = false;
    Bytes from_;
    std::vector<std::byte> out_;
};

} // namespace tessera::posix
