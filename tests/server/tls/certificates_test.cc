// What is a certificate with its key, and what each broken sort is called.
#include "server/tls/certificates.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "tests/server/tls/certificate_maker.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_folder.h"

namespace fmaserver::tls {
namespace {

using testing::ExpectRefusal;
using testing::MadeCertificate;
using testing::MakeCertificate;
using testing::WriteFile;

constexpr long kHour = 3600;

class CertificatesTest : public ::testing::Test {
 protected:
  CertificatesTest() { Put(made_.certificate, made_.key); }

  void Put(const std::string& certificate, const std::string& key) const {
    EXPECT_TRUE(WriteFile(options_.cert, certificate));
    EXPECT_TRUE(WriteFile(options_.key, key));
  }
  std::string File(const char* name) const { return (folder_.path() / name).string(); }
  absl::Status Read() const { return ReadCertificates(options_).status(); }

  const testing::TempFolder folder_;
  const MadeCertificate made_ = MakeCertificate(kHour);
  const MadeCertificate other_ = MakeCertificate(2 * kHour);
  TlsOptions options_{.cert = File("cert"), .key = File("key"), .client_ca = ""};
};

TEST_F(CertificatesTest, ReadsAPairAndItsEnd) {
  const auto read = ReadCertificates(options_);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->chain, made_.certificate);
  EXPECT_EQ(read->key, made_.key);
  EXPECT_NEAR(absl::ToDoubleSeconds(read->chain_end - absl::Now()), kHour, 60);
  EXPECT_EQ(read->client_ca_end, absl::InfiniteFuture());
}

TEST_F(CertificatesTest, AChainEndsWithItsFirst) {
  Put(other_.certificate + made_.certificate, other_.key);
  options_.client_ca = File("authorities");
  ASSERT_TRUE(WriteFile(options_.client_ca, other_.certificate + other_.certificate));
  const auto read = ReadCertificates(options_);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_NEAR(absl::ToDoubleSeconds(read->chain_end - absl::Now()), kHour, 60);
  EXPECT_NEAR(absl::ToDoubleSeconds(read->client_ca_end - absl::Now()), 2 * kHour, 60);
}

TEST_F(CertificatesTest, OneFileMayHoldBoth) {
  ASSERT_TRUE(WriteFile(options_.cert, made_.key + made_.certificate));
  options_.key = options_.cert;
  EXPECT_TRUE(Read().ok()) << Read();
}

TEST_F(CertificatesTest, RefusesBrokenCertificates) {
  for (const std::string& text : {std::string(), std::string("garbage"), made_.key}) {
    Put(text, made_.key);
    ExpectRefusal(Read(), {"tls-cert", options_.cert, "without a certificate"});
  }
  std::string half = made_.certificate.substr(0, made_.certificate.size() / 2);
  Put(half, made_.key);
  ExpectRefusal(Read(), {"tls-cert", options_.cert, "damaged"});
  Put(made_.certificate + half, made_.key);
  ExpectRefusal(Read(), {"tls-cert", options_.cert, "damaged"});
  Put(std::string(size_t{2} << 20, '\n'), made_.key);
  ExpectRefusal(Read(), {"tls-cert", options_.cert, "at most 1048576 bytes"});
}

TEST_F(CertificatesTest, RefusesBrokenKeys) {
  for (const std::string& text : {std::string(), std::string("garbage"), made_.certificate,
                                  made_.key.substr(0, made_.key.size() / 2)}) {
    Put(made_.certificate, text);
    ExpectRefusal(Read(), {"tls-key", options_.key, "no key"});
  }
  Put(made_.certificate, other_.key);
  ExpectRefusal(Read(), {"tls-key", options_.key, "the key of another certificate"});
  Put(made_.certificate, testing::WithPassphrase(made_));
  ExpectRefusal(Read(), {"tls-key", options_.key, "a key with a passphrase"});
}

// A server could not show it, and would only say so at each handshake.
TEST_F(CertificatesTest, RefusesWhatOpensslFindsTooWeak) {
  const MadeCertificate weak = MakeCertificate(kHour, "secp160r1");
  Put(weak.certificate, weak.key);
  ExpectRefusal(Read(), {"tls-cert", options_.cert, "refused by OpenSSL"});
}

TEST_F(CertificatesTest, RefusesWhatIsNoFile) {
  std::filesystem::remove(options_.key);
  EXPECT_EQ(Read().code(), absl::StatusCode::kNotFound);
  std::filesystem::create_directory(options_.key);
  ExpectRefusal(Read(), {"tls-key", options_.key, "a folder"});
}

TEST_F(CertificatesTest, RefusesBrokenAuthorities) {
  options_.client_ca = File("authorities");
  EXPECT_EQ(Read().code(), absl::StatusCode::kNotFound);
  ASSERT_TRUE(WriteFile(options_.client_ca, made_.key));
  ExpectRefusal(Read(), {"tls-client-ca", options_.client_ca, "without a certificate"});
}

}  // namespace
}  // namespace fmaserver::tls
