#include "clients/cpp/status.h"

#include <google/rpc/error_details.pb.h>
#include <google/rpc/status.pb.h>

#include <string>

#include "gtest/gtest.h"

namespace fmaserver::testing {
namespace {

using client::FromGrpcStatus;
using client::RetryAfterSeconds;

std::string DetailsWithDelay(int64_t seconds, int32_t nanos) {
  google::rpc::RetryInfo retry;
  retry.mutable_retry_delay()->set_seconds(seconds);
  retry.mutable_retry_delay()->set_nanos(nanos);
  google::rpc::Status details;
  details.add_details()->set_type_url("type.googleapis.com/google.rpc.ErrorInfo");
  details.add_details()->PackFrom(retry);
  return details.SerializeAsString();
}

absl::Status Refused(const std::string& details) {
  return FromGrpcStatus({grpc::StatusCode::RESOURCE_EXHAUSTED, "later", details});
}

TEST(ClientStatusTest, TheServersHintWhenToComeAgainArrives) {
  const absl::Status status = Refused(DetailsWithDelay(12, 500'000'000));
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(status.message(), "later");
  EXPECT_EQ(RetryAfterSeconds(status), 12.5);
}

TEST(ClientStatusTest, WithoutAHintThereIsNone) {
  for (const std::string& details :
       {std::string(), std::string("\xFF\xFFgarbage"), DetailsWithDelay(-1, 0)}) {
    const absl::Status status = Refused(details);
    EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
    EXPECT_EQ(RetryAfterSeconds(status), std::nullopt);
  }
  EXPECT_TRUE(FromGrpcStatus(grpc::Status::OK).ok());
}

}  // namespace
}  // namespace fmaserver::testing
