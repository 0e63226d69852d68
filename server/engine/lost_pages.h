// Memory mapped from a file whose disk may fail.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

namespace fmaserver::engine {

/// Watches one mapping, which consists of equal blocks. A page that the disk cannot bring would end
/// the process with SIGBUS; under watch it becomes a page of zeros, apart from the file, and its
/// block counts as lost. Thread-safe. The handler of SIGBUS stays for good, and leaves all other
/// memory to the handler before it.
class LostPages {
 public:
  /// Blocks begin and end at whole pages. At most 64 mappings are watched at a time; further ones
  /// are not.
  LostPages(std::span<std::byte> mapping, int64_t block_bytes);
  ~LostPages();
  LostPages(const LostPages&) = delete;
  LostPages& operator=(const LostPages&) = delete;

  bool IsLost(int64_t block) const { return lost_[block]; }

  /// How many pages were lost so far.
  int64_t count() const { return count_; }

  /// The block has been mapped anew.
  void Forget(int64_t block) { lost_[block] = false; }

 private:
  friend struct SigbusHandler;
  bool Take(std::byte* address);

  const std::span<std::byte> mapping_;
  const int64_t block_bytes_;
  const std::unique_ptr<std::atomic<bool>[]> lost_;  // by block
  std::atomic<int64_t> count_ = 0;
};

}  // namespace fmaserver::engine
