// consumer HOST:PORT: the tokens that the model there continues a text with.
#include <fma_client/client.h>
#include <fma_client/credentials.h>
#include <fma_client/status.h>

#include <iostream>

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  fmaserver::client::Client client(argv[1]);
  fmaserver::v1::GenerateRequest request;
  request.set_text("It was a dark");
  request.set_max_tokens(5);
  request.mutable_sampling()->set_temperature(0);
  grpc::ClientContext context;
  const absl::Status status = client.Generate(context, request, [](const auto& response) {
    for (const uint32_t token : response.delta().token_ids()) std::cout << token << " ";
  });
  std::cout << status << "\n";
  return status.ok() && fmaserver::client::ReadTls({}).ok() ? 0 : 1;
}
