// One split virtqueue (virtio 1.2 section 2.7): rings, descriptors, and what is in flight.
//
// The driver adds chains of pieces under a token, announces them (publish), rings the doorbell if
// should_notify() says so, and takes finished tokens back with their written length. Not
// thread-safe: owned by one shard. No allocation after create().
//
// Invariants: a descriptor is free or in exactly one chain in flight; a token comes back at most
// once. A device that returns an index that heads no chain in flight, or more entries than are in
// flight, is caught: the entry is skipped and violations() rises.
#pragma once

#include <span>
#include <vector>

#include "kernel/drivers/platform.hpp"

namespace tessera::kernel {

class Virtqueue {
  public:
    struct Piece {
        BusAddr at;
        uint32_t size = 0;
        bool device_writes = false;
    };
    struct Used {
        uint32_t token = 0;
        uint32_t written = 0; // as the device claims: check against the buffer
    };

    // `size` is a power of two up to 32768. Error: InvalidArgument, NoMemory.
    static Result<Own<Virtqueue>> create(Platform& platform, uint16_t size);

    uint16_t size() const { return size_; }
    unsigned free_descriptors() const { return free_count_; }
    unsigned in_flight() const { return size_ - free_count_; } // descriptors
    uint64_t violations() const { return violations_; }

    // Error: Full (not enough descriptors), InvalidArgument (no pieces). Pieces that the device
    // reads come before those that it writes.
    Result<void> add(std::span<const Piece> pieces, uint32_t token);
    // Makes everything added visible to the device.
    void publish();
    // After publish(): whether the device asked for a doorbell. Orders the index before the look at
    // its flag.
    bool should_notify() const;

    bool used_ready() const;
    // The next finished chain, or false if there is none (bogus entries are skipped).
    bool take_used(Used& out);

    // Interrupts when used entries appear; a hint to the device. Follow enable with a look at
    // used_ready().
    void set_interrupts(bool on);

    BusAddr descriptors_at() const { return memory_.bus(); }
    BusAddr available_at() const { return memory_.bus_at(available_offset_); }
    BusAddr used_at() const { return memory_.bus_at(used_offset_); }

    // The layout in memory, as the device sees it (virtio 1.2 sections 2.7.5, 2.7.6, 2.7.8).
    struct Descriptor {
        uint64_t address;
        uint32_t size;
        uint16_t flags;
        uint16_t next;
    };
    struct UsedElement {
        uint32_t id;
        uint32_t size;
    };
    static constexpr uint16_t kNext = 1, kWrite = 2; // Descriptor::flags
    static constexpr uint16_t kNoInterrupt = 1;      // available flags
    static constexpr uint16_t kNoNotify = 1;         // used flags
    static constexpr size_t available_size(size_t n) { return 6 + 2 * n; }
    static constexpr size_t used_size(size_t n) { return 6 + 8 * n; }

  private:
    explicit Virtqueue(uint16_t size) : size_(size) {}
    Descriptor* descriptors() const { return reinterpret_cast<Descriptor*>(memory_.data()); }
    uint16_t* available() const { // [0] flags, [1] index, [2…] ring
        return reinterpret_cast<uint16_t*>(memory_.data() + available_offset_);
    }
    uint16_t* used() const { return reinterpret_cast<uint16_t*>(memory_.data() + used_offset_); }

    struct Chain {
        uint32_t token = 0;
        uint16_t length = 0; // 0: heads nothing in flight
    };

    uint16_t size_;
    size_t available_offset_ = 0;
    size_t used_offset_ = 0;
    DmaMemory memory_;
    std::vector<Chain> chains_;  // by head descriptor
    std::vector<uint16_t> next_; // our own copy of the links: the device cannot change it
    uint16_t free_head_ = 0;
    uint16_t free_count_ = 0;
    uint16_t next_available_ = 0; // index not yet published
    uint16_t last_used_ = 0;
    uint64_t violations_ = 0;
};

static_assert(sizeof(Virtqueue::Descriptor) == 16);
static_assert(sizeof(Virtqueue::UsedElement) == 8);

} // namespace tessera::kernel
