// The page protocol between a process monitor (P) and a memory monitor (M): protocols.md 1-3.
// Fixed layout, little-endian.
//
// A page session belongs to one (vNode, P incarnation, M incarnation). It is opened by an RPC on
// the authenticated control connection, which hands out a ticket; the page QP (service
// kPageService) shows the ticket in its CM private data. On that QP P posts, in one order:
//   - READ of pages it knows to be present under a grant (not counted);
//   - WRITE_WITH_IMM of one line to (vRegion rkey, address), immediate = checkpoint epoch;
//   - SEND of one StreamOp.
// Every WRITE_WITH_IMM and every StreamOp has a sequence number, from 1, in posting order; both
// ends count. M executes them in order and answers with PageStatus, whose counters are cumulative,
// so that a lost one does no harm. Losing the QP: P calls kPageOpen again with its session; M
// destroys the old QP before it answers, so the executed number in the reply is final; P posts
// again what lies above it.
#pragma once

#include "base/endian.hpp"
#include "net/schema/opcodes.hpp"

namespace tessera::schema {

inline constexpr Opcode kPageOpen{0x2000};
inline constexpr Opcode kPageFetch{0x2001};
inline constexpr Opcode kPageStore{0x2002};
inline constexpr Opcode kPageClose{0x2003};

inline constexpr uint32_t kPageMagic = 0x45474150; // "PAGE"
inline constexpr uint32_t kMaxFetchPages = 8;

// kPageOpen. session 0: a new one (or the one whose first answer was lost). Errors: NotPermitted
// (the vNode has no quota here), Lost (M does not know that session: it restarted), Full.
struct PageOpenRequest {
    Le32 vnode;
    Le32 reserved;
    Le64 session;
};
static_assert(sizeof(PageOpenRequest) == 16);

struct PageRefused {
    Le64 sequence;
    Le16 error; // tessera::Error
    Le16 reserved[3];
};
static_assert(sizeof(PageRefused) == 16);

// Followed by refused_count PageRefused: the refusals that P may not have seen.
struct PageOpenReply {
    Le64 session;
    Le64 ticket;   // one use
    Le64 executed; // final
    Le64 consumed; // credits, cumulative, as in PageStatus
    Le64 granted;
    Le64 returned;
    Le32 window;        // counted operations P may have unanswered on the QP
    Le32 vregion_shift; // log2 of the vRegion size
    Le32 refused_count;
    Le32 reserved;
};
static_assert(sizeof(PageOpenReply) == 64);

// CM REQ private data of a page QP.
struct PageHello {
    Le32 magic;
    Le32 vnode;
    Le64 session;
    Le64 ticket;
    Le64 incarnation; // of the process monitor
};
static_assert(sizeof(PageHello) == 32);

enum class StreamKind : uint16_t {
    None = 0,
    ObjectCreate = 1,  // object
    ObjectDestroy = 2, // object: every page of it goes
    VregionOpen = 3,   // object, first = any page in it: answered by PageGrant
    Discard = 4,       // object, first, pages: become holes
    Fork = 5,          // object = parent, other = the new child, which shares every page
    Share = 6,         // object = from, first = its page; other = to, pages = its page: both share
    Move = 7,          // object, first, pages, other = new first page; the target is overwritten
    CreditRequest = 8, // pages = how many; granted as far as possible (granted in PageStatus)
    CreditReturn = 9,  // pages = how many (returned in PageStatus)
    RevokeDone = 10,   // other = PageRevoke::id
};

struct StreamOp {
    Le16 kind; // StreamKind
    Le16 reserved[3];
    Le64 sequence; // must be the next one
    Le64 object;
    Le64 other;
    Le64 first;
    Le64 pages;
};
static_assert(sizeof(StreamOp) == 48);

enum class PageMessageKind : uint16_t { None = 0, Status = 1, Grant = 2, Revoke = 3 };

inline constexpr size_t kStatusRefusals = 4;

// M -> P, sent after a batch. Everything counts from the start of the session.
struct PageStatus {
    Le16 kind;
    Le16 refused_count;
    Le32 reserved;
    Le64 executed; // every operation up to here is done or among the refused
    Le64 consumed; // credits that became used frames
    Le64 granted;
    Le64 returned;
    PageRefused refused[kStatusRefusals];
};
static_assert(sizeof(PageStatus) == 40 + 16 * kStatusRefusals);

struct PageGrant {
    Le16 kind;
    Le16 reserved;
    Le32 rkey;
    Le64 object;
    Le64 base; // bytes; addresses [base, base + length) of the object
    Le64 length;
    Le32 epoch; // ownership epoch
    Le32 reserved2;
};
static_assert(sizeof(PageGrant) == 40);

// P drops its lines of the range (writing nothing back) and answers RevokeDone.
struct PageRevoke {
    Le16 kind;
    Le16 reserved;
    Le32 generation;
    Le64 id;
    Le64 file;
    Le64 first;
    Le64 pages;
};
static_assert(sizeof(PageRevoke) == 40);

inline constexpr size_t kMaxPageMessage = sizeof(PageStatus);

// kPageFetch: pages not known to be present under a grant. Answered once the stream has reached
// after_sequence (private objects). object 0: a page of a file, through its home. Errors: Lost (no
// such session), Stale (no such object, or another generation of the file), Timeout.
struct PageFetchRequest {
    Le32 vnode;
    Le32 count; // 1..kMaxFetchPages
    Le64 session;
    Le64 object;
    Le64 file;
    Le32 generation;
    Le32 reserved;
    Le64 first;
    Le64 after_sequence;
};
static_assert(sizeof(PageFetchRequest) == 56);

enum class FetchStatus : uint8_t {
    None = 0,
    Present = 1, // its 4096 bytes follow, in page order
    Hole = 2,    // never written: zeros
    End = 3,     // beyond the end of the file
    Lost = 4,
    Io = 5,
    Skipped = 6, // not looked at; ask again
};

struct PageFetchReply {
    Le32 count;
    Le32 rkey; // private objects: the grant of the vRegion of the first page, 0 if none
    Le64 base;
    Le64 length;
    Le32 epoch;
    Le32 reserved;
    unsigned char status[kMaxFetchPages] = {}; // FetchStatus
};
static_assert(sizeof(PageFetchReply) == 40);

// kPageStore: writes one page of a file mapped shared; the 4096 bytes follow (clipped at the file's
// end by the home). Reply empty. Errors: Stale, Io, NoSpace, Lost.
struct PageStoreRequest {
    Le32 vnode;
    Le32 generation;
    Le64 session;
    Le64 file;
    Le64 page;
};
static_assert(sizeof(PageStoreRequest) == 32);

// kPageClose: P has left the vNode; everything of the session is freed. Reply empty.
struct PageCloseRequest {
    Le32 vnode;
    Le32 reserved;
    Le64 session;
};
static_assert(sizeof(PageCloseRequest) == 16);

// Which of a vNode's mComponents is the home of a file, within one mount epoch: of the addresses
// the one whose hash with the file is largest, so that losing one moves only its own files.
template <typename Addresses>
constexpr size_t home_index(FileId file, const Addresses& homes) {
    size_t best = 0;
    uint64_t most = 0;
    for (size_t i = 0; i < homes.size(); i++) {
        uint64_t x = file.value * 0x9e3779b97f4a7c15ull ^ homes[i].value * 0xbf58476d1ce4e5b9ull;
        x = (x ^ x >> 31) * 0x94d049bb133111ebull;
        x ^= x >> 29;
        if (i == 0 || x > most) {
            best = i;
            most = x;
        }
    }
    return best;
}

} // namespace tessera::schema
