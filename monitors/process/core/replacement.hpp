// ReplacementPolicy: which line leaves the ExCache next. CLOCK is the first one; policies run in
// the kernel, under tests and over traces alike, so they see line numbers only.
#pragma once

#include <cstdint>
#include <vector>

#include "base/ref.hpp"

namespace tessera::pmon {

using LineId = uint32_t;
inline constexpr LineId kNoLine = UINT32_MAX;

class LineProbe {
  public:
    // Whether the line could leave at all now (not filling, pinned, on its way out already).
    virtual bool candidate(LineId line) = 0;
    // Whether it was used since the last time this was asked.
    virtual bool test_and_clear_accessed(LineId line) = 0;

  protected:
    ~LineProbe() = default;
};

class ReplacementPolicy {
  public:
    virtual ~ReplacementPolicy() = default;
    virtual void resize(uint32_t lines) = 0; // line numbers are below this
    virtual void inserted(LineId line) = 0;
    virtual void removed(LineId line) = 0;
    // The next line to go, which stays inserted; kNoLine if nothing is found within `most` looks.
    virtual LineId pick(LineProbe& probe, uint32_t most) = 0;
};

// One hand over a ring in order of insertion; a used line gets one more round.
class ClockPolicy final : public ReplacementPolicy {
  public:
    void resize(uint32_t lines) override;
    void inserted(LineId line) override;
    void removed(LineId line) override;
    LineId pick(LineProbe& probe, uint32_t most) override;

  private:
    struct Links {
        LineId previous = kNoLine;
        LineId next = kNoLine;
    };
    std::vector<Links> ring_;
    LineId hand_ = kNoLine;
};

} // namespace tessera::pmon
