// SHA-256, piece by piece.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>

struct evp_md_ctx_st;

namespace fmaserver {

inline constexpr size_t kSha256Bytes = 32;

/// Movable.
class Sha256 {
 public:
  Sha256();

  void Update(std::span<const std::byte> bytes);
  void Update(std::string_view bytes);

  /// The digest of everything so far, kSha256Bytes bytes; more pieces may follow.
  std::string Digest() const;

 private:
  struct Free {
    void operator()(evp_md_ctx_st* context) const;
  };
  std::unique_ptr<evp_md_ctx_st, Free> context_;
};

/// The digest of `bytes` alone.
std::string Sha256Of(std::span<const std::byte> bytes);
std::string Sha256Of(std::string_view bytes);

}  // namespace fmaserver
