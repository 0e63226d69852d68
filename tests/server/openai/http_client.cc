#include "tests/server/openai/http_client.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <cstdio>
#include <cstdlib>

#include "absl/strings/ascii.h"
#include "base/text.h"

namespace fmaserver::testing {

HttpClient::HttpClient(int port) : socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  const timeval patience{.tv_sec = 20, .tv_usec = 0};
  setsockopt(socket_.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (connect(socket_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    std::perror("connect");
    std::abort();
  }
}

void HttpClient::Send(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) return;
    bytes.remove_prefix(static_cast<size_t>(sent));
  }
}

void HttpClient::Ask(std::string_view method, std::string_view path, std::string_view body,
                     std::string_view headers) {
  Send(Concat(method, " ", path, " HTTP/1.1\r\nHost: x\r\nContent-Length: ", body.size(), "\r\n",
              headers, "\r\n", body));
}

bool HttpClient::Fill() {
  char bytes[65536];
  const ssize_t size = recv(socket_.get(), bytes, sizeof bytes, 0);
  if (size <= 0) return false;
  received_.append(bytes, static_cast<size_t>(size));
  return true;
}

bool HttpClient::FillUntil(size_t size) {
  while (received_.size() < size) {
    if (!Fill()) return false;
  }
  return true;
}

std::string HttpClient::Line() {
  size_t end = 0;
  while ((end = received_.find("\r\n")) == std::string::npos) {
    if (!Fill()) return {};
  }
  std::string line = received_.substr(0, end);
  received_.erase(0, end + 2);
  return line;
}

HttpAnswer HttpClient::Receive() {
  HttpAnswer answer;
  const std::string first = Line();
  if (!first.starts_with("HTTP/1.1 ")) return answer;
  answer.status = std::atoi(first.c_str() + 9);
  for (std::string line = Line(); !line.empty(); line = Line()) {
    const size_t colon = line.find(": ");
    answer.headers[absl::AsciiStrToLower(line.substr(0, colon))] = line.substr(colon + 2);
  }
  if (answer.status == 100) return answer;
  if (answer.headers.contains("transfer-encoding")) {
    ReceiveChunks(answer);
  } else if (answer.headers.contains("content-length")) {
    const size_t size = std::strtoul(answer.headers["content-length"].c_str(), nullptr, 10);
    answer.complete = FillUntil(size);
    answer.body = received_.substr(0, size);
    received_.erase(0, size);
  } else {
    while (Fill()) {
    }
    answer.body = std::exchange(received_, {});
    answer.complete = true;
  }
  return answer;
}

void HttpClient::ReceiveChunks(HttpAnswer& answer) {
  while (true) {
    const std::string line = Line();
    if (line.empty()) return;
    const size_t size = std::strtoul(line.c_str(), nullptr, 16);
    if (!FillUntil(size + 2)) return;
    answer.body += received_.substr(0, size);
    received_.erase(0, size + 2);
    if (size == 0) {
      answer.complete = true;
      return;
    }
  }
}

bool HttpClient::AwaitText(std::string_view text) {
  while (received_.find(text) == std::string::npos) {
    if (!Fill()) return false;
  }
  return true;
}

bool HttpClient::IsClosed() {
  while (true) {
    char byte;
    const ssize_t size = recv(socket_.get(), &byte, 1, 0);
    if (size == 0) return true;
    if (size < 0) return errno == ECONNRESET;
  }
}

HttpAnswer Post(int port, std::string_view path, std::string_view body) {
  HttpClient client(port);
  client.Ask("POST", path, body);
  return client.Receive();
}

HttpAnswer Get(int port, std::string_view path) {
  HttpClient client(port);
  client.Ask("GET", path);
  return client.Receive();
}

HttpAnswer Delete(int port, std::string_view path) {
  HttpClient client(port);
  client.Ask("DELETE", path);
  return client.Receive();
}

}  // namespace fmaserver::testing
