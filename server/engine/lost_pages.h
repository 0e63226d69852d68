// Memory mapped from a file whose disk may fail.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

namespace fmaserver::engine {

/// Watches one mapping. A page that the disk cannot bring would end the process with SIGBUS; under
/// watch it becomes a page of zeros, apart from the file, and is remembered as lost. Thread-safe.
/// The handler of SIGBUS stays for good, and leaves all other memory to the handler before it.
class LostPages {
 public:
  /// `mapping` begins and ends at a whole page. At most 64 mappings are watched at a time; further
  /// ones are not.
  explicit LostPages(std::span<std::byte> mapping);
  ~LostPages();
  LostPages(const LostPages&) = delete;
  LostPages& operator=(const LostPages&) = delete;

  /// Whether any of these bytes lie in a lost page.
  bool Any(std::span<const std::byte> bytes) const;

  /// How many pages were lost so far.
  int64_t count() const { return count_; }

  /// The pages of these bytes have been mapped anew.
  void Forget(std::span<const std::byte> bytes);

 private:
  friend struct SigbusHandler;
  bool Take(std::byte* address);

  const std::span<std::byte> mapping_;
  std::atomic<int64_t> count_ = 0;
  // Null: free. Who loses more pages than there is room for has lost all.
  std::array<std::atomic<const std::byte*>, 1024> pages_ = {};
};

}  // namespace fmaserver::engine
