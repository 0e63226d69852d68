#include "tests/emulator/shadow.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "tests/emulator/fail.h"

namespace fmaserver::kernels::cuda::emulator {
namespace {

/// Whether an access of `actor` is ordered after one by `thread` in the phase `stamp`.
bool Ordered(uint32_t stamp, uint16_t thread, uint8_t sync, const Actor& actor,
             const Phases& phases) {
  if (!phases.OfThisLaunch(stamp)) return true;
  if (stamp != actor.stamp) return phases.BlockOf(stamp) == actor.block;
  if (thread == actor.thread) return true;
  return thread / kWarpSize == actor.thread / kWarpSize && sync != actor.sync;
}

bool OrderedAfterReads(const Cell& cell, const Actor& actor, const Phases& phases) {
  if (!phases.OfThisLaunch(cell.read_stamp)) return true;
  if (cell.readers == Cell::Readers::kGrid) return false;
  if (cell.read_stamp == actor.stamp) {
    if (cell.readers == Cell::Readers::kBlock) return false;
    if (cell.readers == Cell::Readers::kWarp) {
      return cell.reader / kWarpSize == actor.thread / kWarpSize && cell.read_sync != actor.sync;
    }
  }
  return Ordered(cell.read_stamp, cell.reader, cell.read_sync, actor, phases);
}

/// The present reader, merged with earlier readers.
Cell::Readers MergeReaders(const Cell& cell, const Actor& actor, const Phases& phases) {
  if (!phases.OfThisLaunch(cell.read_stamp)) return Cell::Readers::kOne;
  if (cell.readers == Cell::Readers::kGrid) return cell.readers;
  if (cell.read_stamp != actor.stamp) {
    const bool same_block = phases.BlockOf(cell.read_stamp) == actor.block;
    return same_block ? Cell::Readers::kOne : Cell::Readers::kGrid;
  }
  if (cell.reader / kWarpSize != actor.thread / kWarpSize) return Cell::Readers::kBlock;
  if (cell.readers == Cell::Readers::kBlock) return cell.readers;
  if (cell.read_sync != actor.sync) return Cell::Readers::kOne;
  return cell.reader == actor.thread ? cell.readers : Cell::Readers::kWarp;
}

std::string Other(uint32_t stamp, uint16_t thread, const Phases& phases) {
  return absl::StrCat("thread ", thread, " of block ", phases.BlockOf(stamp));
}

void CheckRace(const Cell& cell, Access access, const Actor& actor, const Phases& phases,
               const char* where, const Site& site) {
  const bool both_atomic = access == Access::kAtomic && cell.atomic;
  if (!both_atomic && !Ordered(cell.write_stamp, cell.writer, cell.write_sync, actor, phases)) {
    Fail(absl::StrCat("race in ", where, " memory: no barrier since the store by ",
                      Other(cell.write_stamp, cell.writer, phases)),
         &site);
  }
  if (access != Access::kLoad && !OrderedAfterReads(cell, actor, phases)) {
    Fail(absl::StrCat("race in ", where, " memory: no barrier since the load by ",
                      Other(cell.read_stamp, cell.reader, phases)),
         &site);
  }
}

}  // namespace

void Touch(Cell& cell, Access access, const Actor& actor, const Phases& phases, const char* where,
           const Site& site) {
  if (!cell.exists) Fail(absl::StrCat("access outside of every allocation, ", where), &site);
  if (access != Access::kStore && !cell.written) {
    Fail(absl::StrCat("load of ", where, " memory that nobody wrote"), &site);
  }
  CheckRace(cell, access, actor, phases, where, site);
  if (access == Access::kLoad) {
    cell.readers = MergeReaders(cell, actor, phases);
    cell.read_stamp = actor.stamp;
    cell.reader = actor.thread;
    cell.read_sync = actor.sync;
    return;
  }
  cell.write_stamp = actor.stamp;
  cell.writer = actor.thread;
  cell.write_sync = actor.sync;
  cell.written = true;
  cell.atomic = access == Access::kAtomic;
}

}  // namespace fmaserver::kernels::cuda::emulator
