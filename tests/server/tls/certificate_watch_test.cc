// A renewal in every order, and what the log says of it.
#include "server/tls/certificate_watch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/spdlog.h>

#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "tests/server/tls/certificate_maker.h"
#include "tests/support/temp_folder.h"

namespace fmaserver::tls {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::MadeCertificate;
using testing::MakeCertificate;
using testing::WriteFile;

class CertificateWatchTest : public ::testing::Test {
 protected:
  CertificateWatchTest() {
    const auto sink = std::make_shared<spdlog::sinks::ostream_sink_mt>(log_);
    spdlog::set_default_logger(std::make_shared<spdlog::logger>("", sink));
    spdlog::set_pattern("%v");
    Put(old_.certificate, old_.key);
    watch_ = *CertificateWatch::Start(options_);
    Lines();
  }
  ~CertificateWatchTest() override {
    watch_.reset();
    spdlog::set_default_logger(spdlog::create<spdlog::sinks::ostream_sink_mt>("end", log_));
  }

  void Put(const std::string& certificate, const std::string& key) const {
    EXPECT_TRUE(WriteFile(options_.cert, certificate));
    EXPECT_TRUE(WriteFile(options_.key, key));
  }

  /// What was logged since the last call.
  std::vector<std::string> Lines() {
    std::istringstream text(log_.str());
    log_.str("");
    std::vector<std::string> lines;
    for (std::string line; std::getline(text, line);) lines.push_back(line);
    return lines;
  }

  /// What is logged while the watch looks three times.
  std::vector<std::string> Look() {
    for (int i = 0; i < 3; ++i) watch_->Look();
    return Lines();
  }

  std::ostringstream log_;
  const testing::TempFolder folder_;
  const TlsOptions options_{.cert = (folder_.path() / "cert").string(),
                            .key = (folder_.path() / "key").string(),
                            .client_ca = ""};
  const MadeCertificate old_ = MakeCertificate(3600);
  const MadeCertificate new_ = MakeCertificate(7200);
  std::shared_ptr<CertificateWatch> watch_;
};

TEST_F(CertificateWatchTest, NothingNewIsNoNews) {
  const auto before = watch_->current();
  EXPECT_THAT(Look(), IsEmpty());
  Put(old_.certificate, old_.key);
  EXPECT_THAT(Look(), IsEmpty());
  EXPECT_EQ(watch_->current(), before);
}

TEST_F(CertificateWatchTest, TheOldPairStaysUntilANewOneFits) {
  Put("", old_.key);
  EXPECT_THAT(Look(), ElementsAre(HasSubstr("stays")));
  Put(new_.certificate, old_.key);
  EXPECT_THAT(Look(), ElementsAre(HasSubstr("the key of another certificate")));
  EXPECT_EQ(watch_->current()->chain, old_.certificate);
  Put(new_.certificate, new_.key);
  EXPECT_THAT(Look(), ElementsAre(HasSubstr("is renewed")));
  EXPECT_EQ(watch_->current()->chain, new_.certificate);
  EXPECT_EQ(watch_->current()->key, new_.key);
}

TEST_F(CertificateWatchTest, SaysWhenTheOldFilesAreBack) {
  Put(old_.certificate, "garbage");
  EXPECT_THAT(Look(), ElementsAre(HasSubstr("no key")));
  Put(old_.certificate, old_.key);
  EXPECT_THAT(Look(), ElementsAre(HasSubstr("in use again")));
}

}  // namespace
}  // namespace fmaserver::tls
