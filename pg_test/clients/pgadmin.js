// Signs in on pgAdmin's page at the address PGADMIN, in Chromium, to the three servers that pgAdmin knows, and prints
// what the page says.
const { chromium } = require("playwright-core");

const { PGADMIN, EXPIRED, TOKEN } = process.env;

async function main() {
  const browser = await chromium.launch({
    executablePath: "/usr/bin/chromium",
    args: [
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
    ],
  });
  const page = await browser.newPage();
  page.setDefaultTimeout(120_000);
  try {
    await page.goto(PGADMIN);
    await open(page, "Servers", "contoso");
    await connect(page, "contoso");
    console.log("contoso:", await sessionUser(page));

    await connect(page, "late");
    console.log("late:", await refusal(page));
    await page.locator("button", { hasText: /^Cancel$/ }).click();

    await connect(page, "pasted");
    await paste(page, EXPIRED);
    console.log("pasted:", await refusal(page));
    await paste(page, TOKEN);
    console.log("pasted:", await page.getByText("Server connected.").innerText());
  } catch (error) {
    console.error(await page.locator("body").innerText());
    throw error;
  } finally {
    await browser.close();
  }
}

const node = (page, name) => page.locator(".file-tree").getByText(name, { exact: true });

const connect = (page, server) => node(page, server).dblclick();

// The right arrow opens a node and never closes one. pgAdmin ignores it while it is busy.
async function open(page, name, child) {
  const isThere = () => node(page, child).waitFor({ timeout: 1_000 });
  await node(page, name).click();
  for (let left = 60; ; left--) {
    await page.keyboard.press("ArrowRight");
    try {
      return await isThere();
    } catch (error) {
      if (left === 0) throw error;
    }
  }
}

const refusal = (page) => page.getByText("connection failed").innerText();

// In a Query Tool, which has a connection of its own.
async function sessionUser(page) {
  await page.getByText("Server connected.").waitFor();
  await page.getByText("Server connected.").waitFor({ state: "hidden" });
  await open(page, "contoso", "Databases");
  await open(page, "Databases", "postgres");
  await node(page, "postgres").click();
  await page.getByText("Tools", { exact: true }).click();
  await page.getByRole("menuitem", { name: "Query Tool" }).click();
  const tool = page.frameLocator("iframe:visible");
  await tool.locator(".cm-content").first().fill("SELECT session_user");
  await tool.getByRole("button", { name: "Execute script" }).click();
  return tool.getByRole("gridcell").nth(1).innerText();
}

async function paste(page, token) {
  await page.locator("input[type=password]:visible").fill(token);
  await page.locator("button", { hasText: /^OK$/ }).click();
}

main();
