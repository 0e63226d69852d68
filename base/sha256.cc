#include "base/sha256.h"

#include <openssl/evp.h>

#include <cstdlib>

namespace fmaserver {
namespace {

// OpenSSL fails here only when memory or SHA-256 is missing. A digest that is silently wrong would
// be worse than the end of the process.
void Require(int result) {
  if (result != 1) std::abort();
}

}  // namespace

void Sha256::Free::operator()(evp_md_ctx_st* context) const { EVP_MD_CTX_free(context); }

Sha256::Sha256() : context_(EVP_MD_CTX_new()) {
  Require(EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr));
}

void Sha256::Update(std::span<const std::byte> bytes) {
  Require(EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size()));
}

void Sha256::Update(std::string_view bytes) { Update(std::as_bytes(std::span(bytes))); }

std::string Sha256::Digest() const {
  const std::unique_ptr<evp_md_ctx_st, Free> copy(EVP_MD_CTX_new());
  Require(EVP_MD_CTX_copy_ex(copy.get(), context_.get()));
  std::string digest(kSha256Bytes, '\0');
  Require(EVP_DigestFinal_ex(copy.get(), reinterpret_cast<unsigned char*>(digest.data()), nullptr));
  return digest;
}

std::string Sha256Of(std::span<const std::byte> bytes) {
  Sha256 hash;
  hash.Update(bytes);
  return hash.Digest();
}

std::string Sha256Of(std::string_view bytes) { return Sha256Of(std::as_bytes(std::span(bytes))); }

}  // namespace fmaserver
